import { Catch, HttpStatus } from '@nestjs/common';
import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common';
import { HAError } from 'nestjs-ha';
import type { HAErrorCode } from 'nestjs-ha';

/** What is used of the answer of Express. */
interface Answer {
  status(code: number): { json(body: unknown): void };
}

const STATUS: Partial<Record<HAErrorCode, HttpStatus>> = {
  HA_HISTORY_INVALID: HttpStatus.NOT_FOUND,
  HA_HISTORY_GONE: HttpStatus.GONE,
  HA_UNDO_INVALID: HttpStatus.UNPROCESSABLE_ENTITY,
  HA_UNDO_REFUSED: HttpStatus.UNPROCESSABLE_ENTITY,
  HA_UNDO_CONFLICT: HttpStatus.CONFLICT,
};

/** Tells the client what stands in the way. */
@Catch(HAError)
export class UndoFilter implements ExceptionFilter<HAError> {
  catch(error: HAError, host: ArgumentsHost): void {
    const passing = error.retryable ? HttpStatus.SERVICE_UNAVAILABLE : HttpStatus.INTERNAL_SERVER_ERROR;
    const status = STATUS[error.code] ?? passing;
    const response = host.switchToHttp().getResponse<Answer>();
    response.status(status).json({ statusCode: status, error: error.code, message: error.message });
  }
}
