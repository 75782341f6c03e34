import { Controller, Get } from '@nestjs/common';
import { HADatabase, InjectHA } from 'nestjs-ha';

/** How far this node is in the stream: two nodes at one position hold the same rows. */
@Controller('status')
export class StatusController {
  constructor(@InjectHA() private readonly db: HADatabase) {}

  @Get()
  status() {
    const { node, healthy } = this.db.status();
    return { node, healthy, position: String(this.db.position().received) };
  }
}
