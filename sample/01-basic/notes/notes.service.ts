import { Injectable } from '@nestjs/common';
import type { OnModuleInit } from '@nestjs/common';
import { HADatabase, InjectHA } from 'nestjs-ha';
import type { SaveNoteDto } from './dto/save-note.dto.js';
import type { Note } from './note.js';

@Injectable()
export class NotesService implements OnModuleInit {
  constructor(@InjectHA() private readonly db: HADatabase) {}

  /** Every instance may run this: what exists already is not published again. */
  async onModuleInit(): Promise<void> {
    await this.db.exec(`
      CREATE TABLE IF NOT EXISTS note (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        body TEXT NOT NULL DEFAULT '',
        created_at TEXT NOT NULL DEFAULT (datetime('now'))
      )`);
  }

  async create({ title, body = '' }: SaveNoteDto): Promise<Note> {
    const note = await this.db.get<Note>('INSERT INTO note (title, body) VALUES (?, ?) RETURNING *', [title, body]);
    return note as Note;
  }

  findAll(): Promise<Note[]> {
    return this.db.all<Note>('SELECT * FROM note ORDER BY id');
  }

  findOne(id: number): Promise<Note | undefined> {
    return this.db.get<Note>('SELECT * FROM note WHERE id = ?', [id]);
  }

  replace(id: number, { title, body = '' }: SaveNoteDto): Promise<Note | undefined> {
    return this.db.get<Note>('UPDATE note SET title = ?, body = ? WHERE id = ? RETURNING *', [title, body, id]);
  }

  async remove(id: number): Promise<boolean> {
    const { changes } = await this.db.run('DELETE FROM note WHERE id = ?', [id]);
    return changes > 0;
  }
}
