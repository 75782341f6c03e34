import { IsInt, IsPositive } from 'class-validator';
import type { Transfer } from '../library.js';

export class TransferDto implements Transfer {
  @IsInt()
  from!: number;

  @IsInt()
  to!: number;

  @IsInt()
  @IsPositive()
  copies!: number;
}
