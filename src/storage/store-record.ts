import { crc32 } from 'node:zlib';

const CHECK_BYTES = 4;
const MODULUS = 2 ** 32;

/** The bytes of a stored value: a check sum (CRC-32) of its key and its JSON, then the JSON. */
export function recordOf(key: Buffer, json: string): Buffer {
  const bytes = Buffer.allocUnsafe(CHECK_BYTES + Buffer.byteLength(json));
  bytes.write(json, CHECK_BYTES);
  bytes.writeUInt32BE(crc32(bytes.subarray(CHECK_BYTES), crc32(key)));
  return bytes;
}

/** The JSON of a record. Throws if the record or its key is damaged. */
export function jsonOf(key: Buffer, record: Buffer): string {
  const isSound =
    record.length >= CHECK_BYTES && record.readUInt32BE() === crc32(record.subarray(CHECK_BYTES), crc32(key));
  if (!isSound) throw new Error(`the value of ${JSON.stringify(key.toString())} is damaged`);
  return record.toString('utf8', CHECK_BYTES);
}

/** How many records a table has, and the sum of their check sums: so a missing record is noticed. */
export class Tally {
  #count: number;
  #sum: number;

  /** @param text a result of `toString` */
  constructor(text = '0 0') {
    const [count = 0, sum = 0] = text.split(' ').map(Number);
    this.#count = count;
    this.#sum = sum;
  }

  add(record: Buffer): void {
    this.#count++;
    this.#sum = (this.#sum + record.readUInt32BE()) % MODULUS;
  }

  remove(record: Buffer): void {
    this.#count--;
    this.#sum = (this.#sum - record.readUInt32BE() + MODULUS) % MODULUS;
  }

  toString(): string {
    return `${this.#count} ${this.#sum}`;
  }
}
