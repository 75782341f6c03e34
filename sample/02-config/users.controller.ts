import { Body, Controller, Get, Post } from '@nestjs/common';
import { UsersService } from './users.service.js';
import type { Entry, User } from './users.service.js';

@Controller('users')
export class UsersController {
  constructor(private readonly users: UsersService) {}

  @Post()
  create(@Body('name') name: string): Promise<User> {
    return this.users.create(name);
  }

  @Get()
  findAll(): Promise<User[]> {
    return this.users.findAll();
  }

  @Get('history')
  history(): Promise<Entry[]> {
    return this.users.history();
  }
}
