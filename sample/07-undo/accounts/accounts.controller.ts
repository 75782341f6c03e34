import { Body, Controller, Get, Headers, ParseIntPipe, Post } from '@nestjs/common';
import { AccountsService } from './accounts.service.js';
import type { Account } from './accounts.service.js';

@Controller('accounts')
export class AccountsController {
  constructor(private readonly accounts: AccountsService) {}

  @Get()
  findAll(): Promise<Account[]> {
    return this.accounts.findAll();
  }

  @Post()
  open(
    @Headers('x-user') who: string,
    @Body('owner') owner: string,
    @Body('balance', ParseIntPipe) balance: number,
  ): Promise<Account> {
    return this.accounts.open(who, owner, balance);
  }

  @Post('interest')
  payInterest(@Headers('x-user') who: string, @Body('percent', ParseIntPipe) percent: number): Promise<void> {
    return this.accounts.payInterest(who, percent);
  }
}
