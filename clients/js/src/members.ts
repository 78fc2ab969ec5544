import { call } from './handlers.js';
import type { Member, Members } from './types.js';

/** The members of one room, as the server's frames tell them. */
export class RoomMembers<Info = unknown> implements Members<Info> {
  list: readonly Member<Info>[] | undefined;
  count: number | undefined;
  onjoined: ((member: Member<Info>) => void) | undefined;
  onleft: ((member: Member<Info>) => void) | undefined;
  onchange: (() => void) | undefined;

  /** Takes the whole list; or only the count, if there are too many; or neither, if nothing is known any more. */
  take(list?: readonly Member<Info>[], count = list?.length): void {
    const before = this.list;
    if (list === before && count === this.count) return;
    this.list = list;
    this.count = count;
    if (before && list) {
      for (const member of missing(before, list)) call(this.onleft, member);
      for (const member of missing(list, before)) call(this.onjoined, member);
    }
    call(this.onchange);
  }

  /** Adds a member, or gives it another `info`. */
  put({ user, info }: Member<Info>): void {
    const member = { user, info };
    const isKnown = this.list?.some(known => known.user === user);
    if (isKnown) this.#edit(list => list.map(known => (known.user === user ? member : known)));
    else this.#edit(list => [...list, member], this.onjoined, member);
  }

  remove(user: string): void {
    const member = this.list?.find(known => known.user === user);
    if (member) this.#edit(list => list.filter(known => known !== member), this.onleft, member);
  }

  #edit(
    edited: (list: readonly Member<Info>[]) => Member<Info>[],
    handler?: (member: Member<Info>) => void,
    member?: Member<Info>,
  ): void {
    // A change of an unknown list, for example on its way while the room was left, makes no list.
    if (!this.list) return;
    this.list = edited(this.list);
    this.count = this.list.length;
    if (member) call(handler, member);
    call(this.onchange);
  }
}

/** Those of a list whose users are not in another one. */
function missing<Info>(list: readonly Member<Info>[], from: readonly Member<Info>[]): Member<Info>[] {
  const users = new Set(from.map(({ user }) => user));
  return list.filter(({ user }) => !users.has(user));
}
