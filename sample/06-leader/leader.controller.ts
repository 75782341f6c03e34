import { Controller, Get } from '@nestjs/common';
import { HADatabase, HALeader, InjectHA } from 'nestjs-ha';

/** Who leads, as this node sees it. */
@Controller('leader')
export class LeaderController {
  constructor(
    private readonly leader: HALeader,
    @InjectHA() private readonly db: HADatabase,
  ) {}

  @Get()
  status() {
    const { leader } = this;
    return { node: this.db.status().node, leads: leader.isLeader(), leader: leader.target()?.text };
  }
}
