import { Catch, HttpStatus } from '@nestjs/common';
import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common';
import { HAError } from 'nestjs-ha';

/** What is used of the answer of Express. */
interface Answer {
  header(name: string, value: string): void;
  status(code: number): { json(body: unknown): void };
}

/** While the stream is away nothing is written: the client may try again, which is what 503 says. */
@Catch(HAError)
export class UnavailableFilter implements ExceptionFilter<HAError> {
  catch(error: HAError, host: ArgumentsHost): void {
    const status = error.retryable ? HttpStatus.SERVICE_UNAVAILABLE : HttpStatus.INTERNAL_SERVER_ERROR;
    const response = host.switchToHttp().getResponse<Answer>();
    if (error.retryable) response.header('Retry-After', '1');
    response.status(status).json({ statusCode: status, error: error.code, message: error.message });
  }
}
