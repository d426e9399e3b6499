// Loaded into a process before its program (`node --import`): the limits that OTHER_LIMITS names, a JSON object, have other values. So what takes
// minutes at the real times can be tried in seconds.

import { limits } from '../../shared/limits.ts';

const others = process.env.OTHER_LIMITS;
if (others !== undefined) Object.assign(limits, JSON.parse(others));
