// Imported for its effect: the processes that the tests start share one cache of compiled modules, which spares each about half of
// its start. It lies beside the packages, out of the way of git and of the tests' own folders.

import { fileURLToPath } from 'node:url';

process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('../../node_modules/.cache/compile', import.meta.url));
