import { Module } from '@nestjs/common';
import { HAModule } from 'nestjs-ha';
import { NotesModule } from './notes/notes.module.js';

const DEFAULT_DSN = 'file:notes1.db?name=notes1&replicationID=notes&natsPort=4222&natsStoreDir=nats-data';

@Module({ imports: [HAModule.forRoot(process.env.HA_DSN ?? DEFAULT_DSN), NotesModule] })
export class AppModule {}
