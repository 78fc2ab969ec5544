import { z } from 'zod';

/** How nodes tell each other which page they want. */
export const PageRequestForm = z.object({ limit: z.number(), after: z.string().optional() });

/** How nodes tell each other a page. */
export function PageForm<T>(item: z.ZodType<T>) {
  return z.object({ items: z.array(z.tuple([z.string(), item])), more: z.boolean() });
}
