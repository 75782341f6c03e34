import { Type } from 'class-transformer';
import { IsArray, IsInt, IsString, Length, Min, ValidateNested } from 'class-validator';
import type { NewAuthor } from '../library.js';

export class NewBookDto {
  @IsString()
  @Length(1, 100)
  title!: string;

  @IsInt()
  @Min(0)
  copies!: number;
}

export class NewAuthorDto implements NewAuthor {
  @IsString()
  @Length(1, 100)
  name!: string;

  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => NewBookDto)
  books!: NewBookDto[];
}
