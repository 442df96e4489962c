/** An answer in S3's error shape. `code` is S3's own word for it, so that SDKs map it to their typed errors. */
export class S3Error extends Error {
  readonly code: string;
  readonly status: number;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'S3Error';
    this.status = status;
    this.code = code;
  }
}
