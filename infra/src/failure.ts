/** A failure that a person can act on: printed as one line, without a stack. The message ends with the remedy. */
export class Failure extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'Failure';
  }
}
