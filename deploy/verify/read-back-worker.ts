// A thread of publishing: reads slice files back.

import { serveTasks } from '../worker-pool.ts';
import { type ReadBackReport, type ReadBackTask, readBackSlice } from './read-back.ts';

serveTasks<ReadBackTask, ReadBackReport>(async (task) => ({ result: readBackSlice(task) }));
