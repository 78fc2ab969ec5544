import { z } from 'zod';
import { memberText, unportable } from '../../model/json.js';
import { ownCopy } from '../../model/text.js';
import type { MessageErrorCode } from '../message-error.js';

/** A frame that a client may send. */
export type ClientFrame = WithData<z.output<typeof ClientFrame>>;

/** The data of a message is JSON text: numbers in it stay as they were. */
type WithData<Frame> = Frame extends { type: 'publish' | 'call' } ? Frame & { data: string } : Frame;

/** A value of the client's choice, repeated in the answer. */
export type Ref = string | number | undefined;

/** Codes of `error` frames. */
export type FrameErrorCode =
  | MessageErrorCode
  | 'invalid_json'
  | 'invalid_room'
  | 'invalid_token'
  | 'unknown_parameter'
  | 'too_many_rooms';

/** A client's frame cannot be accepted. */
export class FrameError extends Error {
  readonly code: FrameErrorCode;
  readonly ref: Ref;

  constructor(code: FrameErrorCode, message: string, ref?: Ref) {
    super(message);
    this.name = 'FrameError';
    this.code = code;
    this.ref = ref;
  }
}

const Ref = z.union([z.string(), z.number()], 'must be a string or a number').optional();
const Text = z.string({ error: ({ input }) => (input === undefined ? 'is missing' : 'must be a string') });
// A backend could not read it, nor what came with it.
const Portable = z
  .unknown()
  .superRefine((value, context) => {
    const fault = unportable(value);
    if (fault !== undefined) context.addIssue(fault);
  })
  .optional();
const ClientFrame = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.literal('subscribe'), room: Text, since: Text.optional(), ref: Ref }),
    z.object({ type: z.literal('unsubscribe'), room: Text, ref: Ref }),
    z.object({ type: z.literal('token'), token: Text, ref: Ref }),
    z.object({ type: z.literal('ping'), ref: Ref }),
    z.object({
      type: z.literal('publish'),
      room: Text,
      event: Text,
      data: Portable,
      ttl: z.number('must be a number of seconds').optional(),
      ref: Ref,
    }),
    z.object({ type: z.literal('ack'), id: Text, ref: Ref }),
    z.object({ type: z.literal('call'), event: Text, data: Portable, ref: Ref }),
  ],
  { error: 'must be a JSON object' },
);
const TYPES = 'subscribe, unsubscribe, token, ping, publish, call, ack';

/** Reads a client's text frame. Throws a FrameError that says what to change. */
export function parseClientFrame(text: string): ClientFrame {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new FrameError('invalid_json', 'The frame is not valid JSON.');
  }
  const frame = ClientFrame.safeParse(value);
  if (frame.success) return withData(frame.data, text);
  const ref = z.object({ ref: Ref }).safeParse(value).data?.ref;
  const issue = frame.error.issues[0];
  if (issue?.code === 'invalid_union' && issue.path[0] === 'type')
    throw new FrameError('unknown_type', `The types are ${TYPES}.`, ref);
  throw new FrameError('invalid_frame', `${issue?.path.join('.') || 'The frame'} ${issue?.message}.`, ref);
}

function withData(frame: z.output<typeof ClientFrame>, text: string): ClientFrame {
  if (frame.type !== 'publish' && frame.type !== 'call') return frame;
  return { ...frame, data: ownCopy(memberText(text, 'data') ?? 'null') };
}
