/** Character codes that the lexer and its readers compare with. */
export const Char = {
  TAB: 0x09,
  LF: 0x0a,
  FF: 0x0c,
  CR: 0x0d,
  SPACE: 0x20,
  BANG: 0x21,
  DOUBLE_QUOTE: 0x22,
  HASH: 0x23,
  DOLLAR: 0x24,
  QUOTE: 0x27,
  LEFT_PAREN: 0x28,
  RIGHT_PAREN: 0x29,
  STAR: 0x2a,
  PLUS: 0x2b,
  COMMA: 0x2c,
  MINUS: 0x2d,
  DOT: 0x2e,
  SLASH: 0x2f,
  ZERO: 0x30,
  COLON: 0x3a,
  SEMICOLON: 0x3b,
  LESS: 0x3c,
  EQUAL: 0x3d,
  GREATER: 0x3e,
  QUESTION: 0x3f,
  AT: 0x40,
  E: 0x45,
  X: 0x58,
  LEFT_BRACKET: 0x5b,
  UNDERSCORE: 0x5f,
  BACKTICK: 0x60,
  PIPE: 0x7c,
  BOM: 0xfeff,
} as const;

const LOWER_CASE_BIT = 0x20;

/** Whether two codes are the same ASCII letter, the case of `code` aside; `upper` must be an upper-case letter. */
export function isLetter(code: number, upper: number): boolean {
  return (code & ~LOWER_CASE_BIT) === upper;
}

/** Whether the code is an ASCII digit. */
export function isDigit(code: number): boolean {
  return code >= Char.ZERO && code <= 0x39;
}

/** Whether the code is a hexadecimal digit. */
export function isHexDigit(code: number): boolean {
  return isDigit(code) || (code >= 0x41 && code <= 0x46) || (code >= 0x61 && code <= 0x66);
}

/** Whether the code continues a run of white space. A run never starts with a vertical tab, but it may hold one. */
export function isSpace(code: number): boolean {
  return code === Char.SPACE || (code >= Char.TAB && code <= Char.CR);
}

/**
 * Whether the code may stand inside an identifier: letters, digits, `_`, `$` and everything beyond ASCII, which
 * includes the no-break space.
 */
export function isIdentifierChar(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    isDigit(code) ||
    code === Char.UNDERSCORE ||
    code === Char.DOLLAR ||
    code >= 0x80
  );
}
