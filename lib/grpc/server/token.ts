import { createHash, timingSafeEqual } from 'node:crypto';

/** Decides who may call: those who present the token, raw or as `Bearer`. */
export class TokenCheck {
  private readonly wanted: Buffer | undefined;

  /** @param token Undefined lets everybody in. */
  constructor(token: string | undefined) {
    this.wanted = token === undefined ? undefined : digest(token);
  }

  /** Compares in a time that tells nothing of the token. */
  admits(authorization: readonly unknown[]): boolean {
    if (this.wanted === undefined) return true;
    const [value, ...others] = authorization;
    if (typeof value !== 'string' || others.length > 0) return false;
    const raw = timingSafeEqual(digest(value), this.wanted);
    const bearer = timingSafeEqual(digest(value.replace(/^bearer +/i, '')), this.wanted);
    return raw || bearer;
  }
}

/** Texts of any length become as long as each other. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
