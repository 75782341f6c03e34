import { IsInt, IsString, Length, Max, Min } from 'class-validator';

export class PlaceOrderDto {
  @IsString()
  @Length(1, 40)
  item!: string;

  @IsInt()
  @Min(1)
  @Max(100)
  quantity!: number;
}
