import { BadRequestException, Injectable } from '@nestjs/common';
import type { PipeTransform } from '@nestjs/common';

/** Sequences are bigint: as numbers they would lose digits. */
@Injectable()
export class SequencePipe implements PipeTransform<string, bigint> {
  transform(text: string): bigint {
    if (/^\d+$/.test(text)) return BigInt(text);
    throw new BadRequestException(`'${text}' is no sequence.`);
  }
}
