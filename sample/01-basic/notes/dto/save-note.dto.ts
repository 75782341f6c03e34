import { IsNotEmpty, IsOptional, IsString, MaxLength } from 'class-validator';

/** What a client sends to make or to replace a note. */
export class SaveNoteDto {
  @IsString()
  @IsNotEmpty()
  @MaxLength(100)
  title!: string;

  @IsOptional()
  @IsString()
  body?: string;
}
