import { Body, Get, Post } from '@nestjs/common';
import { NewAuthorDto } from './dto/new-author.dto.js';
import { TransferDto } from './dto/transfer.dto.js';
import type { Author, Library, Transferred } from './library.js';

/** The same resource on every ORM; who derives from it says where it is. */
export abstract class LibraryController {
  protected abstract readonly library: Library;

  @Get('authors')
  list(): Promise<Author[]> {
    return this.library.list();
  }

  @Post('authors')
  create(@Body() author: NewAuthorDto): Promise<Author> {
    return this.library.create(author);
  }

  @Post('transfers')
  transfer(@Body() transfer: TransferDto): Promise<Transferred> {
    return this.library.transfer(transfer);
  }
}
