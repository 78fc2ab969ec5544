/**
 * The n-th notification of each publisher, known to all. So a listener knows which numbers of each publisher it must
 * hear, one after the other. A publisher posts the next only after the one before was accepted. So if a number comes
 * too early, twice, or not at all, the server is at fault.
 */
export const ROOMS = 4;
const USERS = 4;

export function roomName(number) {
  return `public.soak.${number % ROOMS}`;
}

export function userName(number) {
  return `user-${number % USERS}`;
}

/** The addresses of the n-th notification, as `POST /notify` takes them. */
export function addressesOf(number) {
  switch (number % 8) {
    case 5:
      return { rooms: [roomName(number), roomName(number + 1)] };
    case 6:
      return { user: userName(Math.floor(number / 8)), room: roomName(Math.floor(number / 8)) };
    case 7:
      return { everyone: true };
    default:
      return { room: roomName(number) };
  }
}

/** Whether the n-th notification reaches a listener with these rooms and this user. */
export function reaches(number, { rooms, user }) {
  const { room, rooms: several = [], user: addressed, everyone = false } = addressesOf(number);
  return (
    everyone ||
    rooms.includes(room) ||
    several.some(one => rooms.includes(one)) ||
    (addressed !== undefined && addressed === user)
  );
}

/** The first number from `from` on that reaches a listener. It comes within eight: every eighth is for everyone. */
export function nextThatReaches(listener, from) {
  let number = from;
  while (!reaches(number, listener)) number++;
  return number;
}
