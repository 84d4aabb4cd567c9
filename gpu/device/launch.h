/* How a kernel is launched, on a GPU and emulated. */
#ifndef LAUNCH_H
#define LAUNCH_H

enum {
    LAUNCH_COOPERATIVE = 1, /* all thread blocks run at the same time, or the launch is refused */
    LAUNCH_EARLY = 2        /* it may begin before the stream's last launch has ended, as soon as that lets it
                               (begin_next_launch), and says itself where it waits for that (wait_for_last_launch);
                               needs sm_90, elsewhere it is a launch like any other */
};

#endif
