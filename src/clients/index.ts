export { Door } from './door.js';
export { Timetable } from './timetable.js';
