import { Controller, Get, Param, ParseBoolPipe, Post, Query, UseFilters } from '@nestjs/common';
import { AuditService } from './audit.service.js';
import type { Entry, Undone } from './audit.service.js';
import { SequencePipe } from './sequence.pipe.js';
import { UndoFilter } from './undo.filter.js';

/** Who changed what, and taking a mistake back. */
@Controller('audit')
@UseFilters(UndoFilter)
export class AuditController {
  constructor(private readonly audit: AuditService) {}

  @Get()
  list(@Query('since') since = '1h', @Query('table') table?: string): Promise<Entry[]> {
    return this.audit.list(since, table);
  }

  @Get(':sequence/undo')
  preview(@Param('sequence', SequencePipe) sequence: bigint): Promise<Undone> {
    return this.audit.preview(sequence);
  }

  @Post(':sequence/undo')
  undo(
    @Param('sequence', SequencePipe) sequence: bigint,
    @Query('force', new ParseBoolPipe({ optional: true })) force = false,
  ): Promise<Undone> {
    return this.audit.undo(sequence, { force });
  }
}
