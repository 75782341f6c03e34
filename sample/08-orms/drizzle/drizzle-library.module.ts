import { Module } from '@nestjs/common';
import { DrizzleController } from './drizzle.controller.js';
import { DrizzleLibrary } from './drizzle.library.js';
import { drizzleProvider } from './drizzle.provider.js';

@Module({ controllers: [DrizzleController], providers: [drizzleProvider, DrizzleLibrary] })
export class DrizzleLibraryModule {}
