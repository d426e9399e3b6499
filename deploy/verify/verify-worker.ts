// A thread of `verify`: checks slice files.

import { serveTasks } from '../worker-pool.ts';
import { checkSlice, type SliceCheckReport, type SliceCheckTask } from './slice-check.ts';

serveTasks<SliceCheckTask, SliceCheckReport>(async (task) => ({ result: await checkSlice(task) }));
