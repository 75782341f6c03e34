import { Catch, HttpStatus } from '@nestjs/common';
import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common';
import { HAError } from 'nestjs-ha';

/** What is used of the answer of Express. */
interface Answer {
  header(name: string, value: string): void;
  status(code: number): { json(body: unknown): void };
}

/**
 * A node that loses the lead in the middle of a write says so: 503, come again. Here that goes for writes too of which nobody
 * knows whether they were stored, for an order carries its id: the second time it is found.
 */
@Catch(HAError)
export class RetryableFilter implements ExceptionFilter<HAError> {
  catch(error: HAError, host: ArgumentsHost): void {
    const isRetryable = error.retryable || error.code === 'HA_PUBLISH_UNKNOWN';
    const status = isRetryable ? HttpStatus.SERVICE_UNAVAILABLE : HttpStatus.INTERNAL_SERVER_ERROR;
    const response = host.switchToHttp().getResponse<Answer>();
    if (isRetryable) response.header('Retry-After', '1');
    response.status(status).json({ statusCode: status, code: error.code, message: error.message });
  }
}
