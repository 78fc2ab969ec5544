import type { z } from 'zod';
import type { Cluster } from './cluster.js';

// If a node does not answer in this time, the answer is partial.
const ANSWER_MS = 500;

/** Asks all nodes, this one too. `partial`: some did not answer in time. */
export type Ask<Q, A> = (
  question: Q,
) => Promise<{ readonly answers: readonly A[]; readonly partial: boolean }>;

/** Makes a question that each node answers for itself. A topic has one question. */
export function question<Q, A>(
  cluster: Cluster,
  topic: string,
  forms: { readonly question: z.ZodType<Q>; readonly answer: z.ZodType<A> },
  answer: (question: Q) => A | Promise<A>,
): Ask<Q, A> {
  cluster.handle(topic, async body => JSON.stringify(await answer(forms.question.parse(JSON.parse(body)))));
  return async asked => {
    const { answers, partial } = await cluster.ask(topic, JSON.stringify(asked), ANSWER_MS);
    // A node of another version may answer in another form.
    const understood = answers.flatMap(text => {
      const { success, data } = forms.answer.safeParse(JSON.parse(text));
      return success ? [data] : [];
    });
    return { answers: understood, partial: partial || understood.length < answers.length };
  };
}
