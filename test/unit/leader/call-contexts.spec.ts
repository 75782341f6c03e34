import type { ExecutionContext } from '@nestjs/common';
import { LeaderForwarding } from '../../../lib/leader/leader-forwarding.js';
import { LeaderGuard } from '../../../lib/leader/leader-guard.js';
import { FakeLeader } from '../../e2e/leader-http/fake-leader.js';

function contextOf(type: string, args: unknown[]): ExecutionContext {
  class Resolver {}
  return {
    getType: () => type,
    getArgByIndex: (index: number) => args[index],
    getHandler: () => () => undefined,
    getClass: () => Resolver,
  } as unknown as ExecutionContext;
}

function guardOf(leader: FakeLeader): LeaderGuard {
  return new LeaderGuard(new LeaderForwarding(leader, { node: 'n', timeout: 1_000 }));
}

const operation = (kind: string) => [{}, {}, {}, { operation: { operation: kind } }];

it('lets GraphQL queries and subscriptions pass, and refuses mutations with the target', async () => {
  const leader = FakeLeader.following('http://leader.test');
  const guard = guardOf(leader);
  expect(await guard.canActivate(contextOf('graphql', operation('query')))).toBe(true);
  expect(await guard.canActivate(contextOf('graphql', operation('subscription')))).toBe(true);
  await expect(guard.canActivate(contextOf('graphql', operation('mutation')))).rejects.toMatchObject({
    code: 'HA_NOT_LEADER',
    retryable: true,
    details: { target: { http: 'http://leader.test' } },
    message: expect.stringContaining('http://leader.test'),
  });
  leader.changes.next({ isLeader: true });
  expect(await guard.canActivate(contextOf('graphql', operation('mutation')))).toBe(true);
});

it('refuses calls of a kind that it does not know', async () => {
  const guard = guardOf(FakeLeader.following('http://leader.test'));
  await expect(guard.canActivate(contextOf('necord', []))).rejects.toMatchObject({ code: 'HA_NOT_LEADER' });
});
