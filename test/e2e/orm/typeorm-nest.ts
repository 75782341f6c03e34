import { Injectable, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import { getDataSourceToken, InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import type { Repository } from 'typeorm';
import { getHAToken } from '../../../lib/common/tokens.js';
import { haDataSourceFactory, haDataSourceOptions } from '../../../lib/orm/typeorm.js';
import { HATestingBroker, HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { onCleanup } from '../../helper/cluster.js';
import { Author, Book, Tag } from './typeorm-entities.js';

@Injectable()
class Library {
  constructor(
    @InjectRepository(Author) private readonly authors: Repository<Author>,
    private readonly dataSource: DataSource,
  ) {}

  add(name: string, title: string): Promise<Author> {
    return this.dataSource.transaction((manager) => manager.save(manager.create(Author, { name, books: [{ title }] })));
  }

  all(): Promise<Author[]> {
    return this.authors.find({ relations: { books: true } });
  }
}

@Module({ imports: [TypeOrmModule.forFeature([Author, Book, Tag])], providers: [Library] })
class LibraryModule {}

async function started(broker: HATestingBroker): Promise<TestingModule> {
  const app = await Test.createTestingModule({
    imports: [
      HATestingModule.forRoot({ broker }),
      TypeOrmModule.forRootAsync({
        inject: [getHAToken()],
        useFactory: (db: HADatabase) => haDataSourceOptions(db, { autoLoadEntities: true, synchronize: true }),
        dataSourceFactory: haDataSourceFactory(DataSource),
      }),
      LibraryModule,
    ],
  }).compile();
  onCleanup(() => app.close());
  return app.init();
}

export function describeNest(version: string): void {
  describe(`@nestjs/typeorm with TypeORM ${version}`, () => {
    it('serves repositories of two nodes', async () => {
      const broker = new HATestingBroker();
      const [first, second] = await Promise.all([started(broker), started(broker)]);
      await first.get(Library, { strict: false }).add('Ada', 'Notes');
      const { received } = first.get(HADatabase, { strict: false }).position();
      await second.get(HADatabase, { strict: false }).waitFor(received, { timeout: 10_000 });
      const library = second.get(Library, { strict: false });
      expect(await library.all()).toEqual([{ id: 1, name: 'Ada', books: [{ id: 1, title: 'Notes' }] }]);
    });

    it('closes the DataSource with the application', async () => {
      const app = await started(new HATestingBroker());
      const dataSource = app.get<DataSource>(getDataSourceToken(), { strict: false });
      expect(dataSource.isInitialized).toBe(true);
      await app.close();
      expect(dataSource.isInitialized).toBe(false);
    });
  });
}
