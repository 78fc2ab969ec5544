/**
 * What a publisher posts as its n-th, known to all: so a listener knows which numbers of each publisher it must
 * hear, one after the other. A publisher posts its next only when the one before was accepted, so a number that
 * comes before the one it follows, twice, or not at all is the server's doing.
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

/** Whether the n-th reaches one who is in these rooms and is this user. */
export function reaches(number, { rooms, user }) {
  const { room, rooms: several = [], user: addressed, everyone = false } = addressesOf(number);
  return (
    everyone ||
    rooms.includes(room) ||
    several.some(one => rooms.includes(one)) ||
    (addressed !== undefined && addressed === user)
  );
}

/** The first that reaches them from a number on. There is one within eight, for every eighth is for everyone. */
export function nextThatReaches(listener, from) {
  let number = from;
  while (!reaches(number, listener)) number++;
  return number;
}
