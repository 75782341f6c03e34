import type { MigrationInterface, QueryRunner } from 'typeorm';

/** As `typeorm migration:generate` writes it. */
export class Library1767225600000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      `CREATE TABLE "typeorm_author" ("id" integer PRIMARY KEY AUTOINCREMENT NOT NULL, "name" text NOT NULL)`,
    );
    await runner.query(
      `CREATE TABLE "typeorm_book" ("id" integer PRIMARY KEY AUTOINCREMENT NOT NULL, "title" text NOT NULL, "copies" integer NOT NULL, "authorId" integer NOT NULL, FOREIGN KEY ("authorId") REFERENCES "typeorm_author" ("id"))`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP TABLE "typeorm_book"`);
    await runner.query(`DROP TABLE "typeorm_author"`);
  }
}
