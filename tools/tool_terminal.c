/* Steps on a terminal: keys without Enter, the alternate screen, signals. */
#define _XOPEN_SOURCE 700
#define _DEFAULT_SOURCE /* TIOCGWINSZ */
#include "tool_terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "tool_options.h"

#define ENTER_SCREEN "\033[?1049h"
#define LEAVE_SCREEN "\033[?1049l"

/* ---- the terminal's settings ---- */

static struct termios saved;
static volatile sig_atomic_t is_open, must_redraw;
static const int ending_signals[] = {SIGINT,  SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV,
                                     SIGBUS,  SIGFPE,  SIGILL, SIGPIPE, SIGALRM, SIGXCPU};

/* Only what a signal handler may call. */
static void close_terminal(void)
{
    if (!is_open)
        return;
    is_open = 0;
    ssize_t written = write(STDOUT_FILENO, LEAVE_SCREEN, sizeof LEAVE_SCREEN - 1);
    (void)written; /* nothing can be done in a handler */
    tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

static void enter_terminal(void)
{
    struct termios keys = saved;
    keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* ISIG stays: Ctrl-C and Ctrl-Z are signals */
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &keys);
    is_open = 1;
    ssize_t written = write(STDOUT_FILENO, ENTER_SCREEN, sizeof ENTER_SCREEN - 1);
    (void)written;
}

/* The handler was reset and the signal is not blocked: it ends the program as if it had never been caught. */
static void on_end(int number)
{
    close_terminal();
    raise(number);
}

static void handle(int number, void (*handler)(int), int flags);

/* Ctrl-Z: the shell gets its terminal back; after fg it is ours again. */
static void on_stop(int number)
{
    int error = errno;
    close_terminal();
    raise(number); /* stops here */
    enter_terminal();
    handle(SIGTSTP, on_stop, SA_RESETHAND | SA_NODEFER);
    must_redraw = 1;
    errno = error;
}

static void on_resize(int number)
{
    (void)number;
    must_redraw = 1;
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, old;
    sigemptyset(&action.sa_mask);
    if (sigaction(number, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(number, &action, NULL);
}

static bool open_terminal(void)
{
    if (tcgetattr(STDIN_FILENO, &saved) != 0 || atexit(close_terminal) != 0)
        return false;
    for (size_t i = 0; i < sizeof ending_signals / sizeof ending_signals[0]; i++)
        handle(ending_signals[i], on_end, SA_RESETHAND | SA_NODEFER);
    handle(SIGTSTP, on_stop, SA_RESETHAND | SA_NODEFER);
    handle(SIGWINCH, on_resize, 0); /* no SA_RESTART: it interrupts read */
    enter_terminal();
    return true;
}

bool tool_can_wait(bool needs_screen)
{
    const char *terminal = getenv("TERM");
    bool dumb = needs_screen && (terminal == NULL || terminal[0] == '\0' || strcmp(terminal, "dumb") == 0);
    bool is_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (is_terminal && !dumb)
        return true;
    tool_warn("--wait: %s, so all steps follow without stopping",
              is_terminal ? "TERM is dumb or unset" : "input or output is not a terminal");
    return false;
}

/* ---- frames ---- */

static void read_size(size_t *rows, size_t *columns)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1 && size.ws_col > 0;
    *rows = known ? size.ws_row : 24;
    *columns = known ? size.ws_col : 80;
}

/* The last part of the text that fits on the screen, whole lines; a long line takes several rows. */
static const char *last_lines(const char *text, size_t bytes, size_t rows, size_t columns)
{
    const char *begin = text + bytes;
    for (size_t used = 0; begin > text;) {
        const char *line = begin - 1; /* its newline */
        while (line > text && line[-1] != '\n') line--;
        size_t length = (size_t)(begin - 1 - line);
        used += length > columns ? (length + columns - 1) / columns : 1;
        if (used > rows)
            break;
        begin = line;
    }
    return begin;
}

/* Steps [first, last] as text; the caller frees it. */
static char *steps_text(const tool_steps *steps, size_t first, size_t last, size_t *bytes)
{
    char *text = NULL;
    FILE *file = open_memstream(&text, bytes);
    if (file == NULL)
        tool_fail("out of memory");
    for (size_t i = first; i <= last; i++) steps->write(file, steps->context, i);
    if (fclose(file) != 0)
        tool_fail("out of memory");
    return text;
}

static void draw(const tool_steps *steps, size_t step)
{
    size_t rows, columns, bytes;
    read_size(&rows, &columns);
    char *text = steps_text(steps, step > rows ? step - rows : 0, step, &bytes); /* a step has a line at least */
    tool_palette palette = tool_palette_for(stdout);
    fputs("\033[H\033[J", stdout);
    fputs(last_lines(text, bytes, rows - 1, columns), stdout);
    char line[128];
    const char *keys = step + 1 < steps->num_steps ? "Enter next   b back   n next item   q quit"
                                                   : "Enter quit   b back                 q quit";
    int length = snprintf(line, sizeof line, "step %zu of %zu   %s", step + 1, steps->num_steps, keys);
    if ((size_t)length > columns) /* it would scroll the screen */
        snprintf(line, sizeof line, "%zu/%zu Enter b n q", step + 1, steps->num_steps);
    printf("\033[%zuH%s%.*s%s", rows, palette.bold, (int)columns, line, palette.plain);
    fflush(stdout);
    free(text);
}

/* Waits for a byte; 0: draw again, 'q' at the end of the input. */
static char read_key(void)
{
    char key = 0;
    ssize_t count = must_redraw ? -1 : read(STDIN_FILENO, &key, 1);
    if (must_redraw || (count < 0 && errno == EINTR)) {
        must_redraw = 0;
        return 0;
    }
    return count != 1 || key == 4 ? 'q' : key; /* 4: Ctrl-D */
}

/* Returns the last step that was shown. */
static size_t walk_with_keys(const tool_steps *steps)
{
    size_t step = 0, last = steps->num_steps - 1;
    for (;;) {
        draw(steps, step);
        char key = read_key();
        if (key == 'q' || ((key == '\n' || key == '\r') && step == last))
            return step;
        if (key == '\n' || key == '\r')
            step++;
        else if (key == 'b' && step > 0)
            step--;
        else if (key == 'n')
            step = steps->next_item(steps->context, step);
    }
}

void tool_show_steps(const tool_steps *steps, bool wait)
{
    size_t last = steps->num_steps - 1;
    if (wait && tool_can_wait(true) && open_terminal()) {
        last = walk_with_keys(steps);
        close_terminal();
    }
    for (size_t i = 0; i <= last; i++) steps->write(stdout, steps->context, i);
}
