import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import {
  Body,
  Controller,
  Delete,
  Get,
  Header,
  HttpException,
  Inject,
  Param,
  ParseIntPipe,
  Post,
  Put,
  Query,
  Redirect,
  Req,
  Res,
  Sse,
  StreamableFile,
  UploadedFile,
  UseGuards,
  UseInterceptors,
  ValidationPipe,
} from '@nestjs/common';
import type { Type } from '@nestjs/common';
import { FileInterceptor as ExpressFile } from '@nestjs/platform-express';
import { FileInterceptor as FastifyFile } from '@nestjs/platform-fastify';
import { IsInt, IsString } from 'class-validator';
import { concatMap, from, timer } from 'rxjs';
import { LeaderGuard } from '../../../lib/leader/leader-guard.js';
import { ReadOnly, WriteMethods } from '../../../lib/leader/write-methods.js';
import type { AdapterName } from './apps.js';

/** Token of the name of the application: who served is seen in the answer. */
export const NAME = 'name';

class Thing {
  @IsString()
  name!: string;

  @IsInt()
  amount!: number;
}

interface File {
  readonly originalname?: string;
  readonly filename?: string;
  readonly mimetype: string;
  readonly buffer: Buffer;
}

type AnyRequest = IncomingMessage & { raw?: IncomingMessage };
type AnyResponse = ServerResponse & { raw?: ServerResponse };

/** Routes for every kind of request and answer. Their files come as each adapter has them. */
export function thingsFor(adapter: AdapterName): Type {
  const upload = adapter === 'express' ? ExpressFile('file') : FastifyFile('file');

  @Controller('things')
  @UseGuards(LeaderGuard)
  class ThingsController {
    constructor(@Inject(NAME) private readonly servedBy: string) {}

    @Post()
    create(@Body() body: unknown, @Query() query: unknown, @Req() request: AnyRequest) {
      const { headers } = request.raw ?? request;
      const { servedBy } = this;
      return {
        servedBy,
        body: body ?? null,
        query,
        type: headers['content-type'] ?? null,
        own: headers['x-own'] ?? null,
      };
    }

    @Post('checked')
    checked(@Body(new ValidationPipe({ whitelist: true, forbidNonWhitelisted: true })) thing: Thing) {
      return { servedBy: this.servedBy, thing };
    }

    @Post('file')
    @UseInterceptors(upload)
    file(@UploadedFile() file: File | undefined, @Body() body: unknown) {
      if (file === undefined) return { servedBy: this.servedBy, body };
      const { originalname = file.filename, mimetype, buffer } = file;
      return { servedBy: this.servedBy, body, originalname, mimetype, sha: sha(buffer) };
    }

    @Post('bytes')
    async bytes(@Req() request: AnyRequest) {
      const hash = createHash('sha256');
      let size = 0;
      for await (const chunk of request.raw ?? request) {
        hash.update(chunk as Buffer);
        size += (chunk as Buffer).length;
      }
      return { servedBy: this.servedBy, size, sha: hash.digest('hex') };
    }

    @Post('zipped')
    @Header('Content-Encoding', 'gzip')
    @Header('Content-Type', 'application/json')
    zipped() {
      return new StreamableFile(gzipSync(JSON.stringify({ servedBy: this.servedBy, text: 'x'.repeat(10_000) })));
    }

    @Post('cookies')
    cookies(@Req() request: AnyRequest, @Res({ passthrough: true }) response: AnyResponse) {
      const raw = response.raw ?? response;
      raw.setHeader('Set-Cookie', ['a=1; Path=/', 'b=2; HttpOnly']);
      return { got: (request.raw ?? request).headers.cookie };
    }

    @Post('status/:status')
    fail(@Param('status', ParseIntPipe) status: number) {
      throw new HttpException({ servedBy: this.servedBy, status }, status);
    }

    @Post('crash')
    crash() {
      throw new Error('a bug');
    }

    @Post('moved')
    @Redirect('/elsewhere?a=b', 303)
    moved() {
      return undefined;
    }

    @Put(':id')
    replace(@Param('id') id: string, @Body() body: unknown) {
      return { servedBy: this.servedBy, id, body };
    }

    @Delete(':id')
    remove(@Param('id') id: string, @Res({ passthrough: true }) response: AnyResponse) {
      (response as unknown as { status(code: number): void }).status(id === '1' ? 204 : 200);
      return id === '1' ? undefined : { servedBy: this.servedBy };
    }

    @Get('visit')
    @WriteMethods('GET')
    @Header('X-Visit', 'yes')
    visit() {
      return { servedBy: this.servedBy };
    }

    @Post('search')
    @ReadOnly()
    search(@Body() body: unknown) {
      return { servedBy: this.servedBy, body };
    }

    @Get()
    list() {
      return { servedBy: this.servedBy };
    }

    @Sse('events')
    @WriteMethods('GET')
    events() {
      return from([1, 2, 3]).pipe(
        concatMap((n) => timer(20).pipe(concatMap(() => [{ data: { n, by: this.servedBy } }]))),
      );
    }
  }
  return ThingsController;
}

export function sha(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
