import { Module } from '@nestjs/common';
import { ClsPluginTransactional } from '@nestjs-cls/transactional';
import { ClsModule } from 'nestjs-cls';
import { HATransactionalAdapter } from 'nestjs-ha/cls';
import { BooksRepository } from './books.repository.js';
import { ClsController } from './cls.controller.js';
import { ClsLibrary } from './cls.library.js';

@Module({
  imports: [
    ClsModule.forRoot({
      middleware: { mount: true },
      plugins: [new ClsPluginTransactional({ adapter: new HATransactionalAdapter() })],
    }),
  ],
  controllers: [ClsController],
  providers: [ClsLibrary, BooksRepository],
})
export class ClsLibraryModule {}
