/** Loaded ahead of the program (NODE_OPTIONS=--require): SIGUSR2 collects garbage, so that what is left is what is held. */
const { setFlagsFromString } = require('node:v8');
const { runInNewContext } = require('node:vm');

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
process.on('SIGUSR2', () => collect());
