/* How a kernel is launched, on a GPU and emulated. */
#ifndef LAUNCH_H
#define LAUNCH_H

enum {
    LAUNCH_COOPERATIVE = 1, /* all thread blocks run at the same time, or the launch is refused */
    LAUNCH_EARLY = 2        /* may start before the previous launch in the stream ends (programmatic dependent launch),
                               once that one calls allow_next_launch; must call wait_for_previous_launch before it reads
                               results of earlier work. Needs sm_90; elsewhere a launch like any other */
};

#endif
