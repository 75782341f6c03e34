import {
  Body,
  Controller,
  Delete,
  Get,
  HttpCode,
  NotFoundException,
  Param,
  ParseIntPipe,
  Post,
  Put,
} from '@nestjs/common';
import { SaveNoteDto } from './dto/save-note.dto.js';
import type { Note } from './note.js';
import { NotesService } from './notes.service.js';

@Controller('notes')
export class NotesController {
  constructor(private readonly notes: NotesService) {}

  @Post()
  create(@Body() note: SaveNoteDto): Promise<Note> {
    return this.notes.create(note);
  }

  @Get()
  findAll(): Promise<Note[]> {
    return this.notes.findAll();
  }

  @Get(':id')
  async findOne(@Param('id', ParseIntPipe) id: number): Promise<Note> {
    return orNotFound(await this.notes.findOne(id), id);
  }

  @Put(':id')
  async replace(@Param('id', ParseIntPipe) id: number, @Body() note: SaveNoteDto): Promise<Note> {
    return orNotFound(await this.notes.replace(id, note), id);
  }

  @Delete(':id')
  @HttpCode(204)
  async remove(@Param('id', ParseIntPipe) id: number): Promise<void> {
    if (!(await this.notes.remove(id))) throw notFound(id);
  }
}

function orNotFound(note: Note | undefined, id: number): Note {
  if (note === undefined) throw notFound(id);
  return note;
}

function notFound(id: number): NotFoundException {
  return new NotFoundException(`There is no note ${id}.`);
}
