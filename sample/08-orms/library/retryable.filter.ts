import { Catch, ServiceUnavailableException } from '@nestjs/common';
import type { ArgumentsHost } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { isRetryable } from 'nestjs-ha';

/** Nothing was written where the error is retryable, whichever ORM has wrapped it: 503, the client may send it again. */
@Catch()
export class RetryableFilter extends BaseExceptionFilter {
  override catch(error: unknown, host: ArgumentsHost): void {
    // oxlint-disable-next-line promise/valid-params, promise/no-promise-in-callback -- this is a filter of exceptions, and no promise
    super.catch(isRetryable(error) ? new ServiceUnavailableException('Send it again.') : error, host);
  }
}
