CREATE TABLE `drizzle_author` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`name` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `drizzle_book` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`author_id` integer NOT NULL,
	`title` text NOT NULL,
	`copies` integer NOT NULL,
	FOREIGN KEY (`author_id`) REFERENCES `drizzle_author`(`id`) ON UPDATE no action ON DELETE no action
);
