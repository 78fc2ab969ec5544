/** node use-directory.js PATH: uses a directory, and prints `used`, or why it cannot. */
import { DataDirectory } from '../../dist/storage/directory.js';

try {
  await new DataDirectory(process.argv[2]).use();
  console.log('used');
} catch (error) {
  console.log(error.message);
}
