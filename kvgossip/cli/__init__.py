"""The command `kvgossip`. One file a command, under the command's own name; what takes long is
imported when it is used.

    agent          run a node
    config         show what an agent goes by, and where each value is from; the schema, a sample
    demo           start a cluster on this machine to play with
    version        print the version
    get            print the value of a key
    put            store a value
    delete         delete a key
    add            add to a counter or a set
    remove         take elements out of a set
    set_           set fields of a map (`set`)
    unset          take fields out of a map
    list_          list keys (`list`)
    watch          print changes as they happen
    history        list earlier versions of a key
    conflicts      list writes that were lost, and write them again
    rollback       write an earlier version again
    story          show what happened to a key on every member
    release        release a set of values at once: make, status, promote, rollback
    load           store many keys, from lines of JSON
    dump           print many keys, as lines of JSON
    members        show the members that a node knows
    status         show a node's own view of itself
    ready          ask the agent of this machine whether it is ready: a health check
    join           make a node join a cluster
    leave          make a node leave
    settle         make a node answer reads before it has caught up
    differences    show which keys differ from a member, and write one side for all
    exchange       exchange with a member now
    converge       compare the data of all members
    block          make a node drop everything of a member or a network
    unblock        take a block back
    force_leave    declare that a dead member will not come back (`force-leave`)
    doctor         find the faults of a cluster
    rtt            show the round trip between two members
    keygen         make a key
    token_         make a token, and its section of the tokens file (`token`)
    tls            make a CA and certificates (`tls new`)
    keyring        change the keys of all nodes: install, use, remove, list
    export         write all entries into a file
    import_        bring them back (`import`)
    quarantine     values that a node brought back: list, show, restore, discard
    sim            the commands of the simulator
    process        processes that commands run
    arguments      arguments that several commands take
    editing        counters, sets and maps: the question, and what is said of the answer
    write_concern  the options --wait and --timeout, and the acks as they come in
    json_lines     the lines of `load` and `dump`
    archive_file   the file of `export` and `import`
    settings       the sources of the parameters of an agent
    connection     the HTTP client of a command
    node_options   the options of all that ask a node, for its token and for TLS
    output         tables, and JSON
    streams        standard input and output: closed ones, other locales, bytes
    tree           which commands there are, each imported when it is asked for
    errors         failures of commands, and their exit codes
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from kvgossip import __version__
from kvgossip.cli.errors import (
    EXIT_CODES,
    UNREAD,
    UNUSABLE,
    complain,
    exit_code_of,
    usage_hint,
    usage_message,
)
from kvgossip.cli.streams import discard_output, prepare_streams
from kvgossip.cli.tree import MARKUP, Root
from kvgossip.errors import KVGossipError

NOTHING_TAKEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Why an output device takes no more."""

app = typer.Typer(
    name="kvgossip",
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A replicated key-value store that lives in every process that needs it.\n\n"
    "Start with\n\n- `kvgossip demo`: a cluster of three on this machine\n- `kvgossip put greeting "
    "hello`\n"
    "- `kvgossip get greeting --url http://127.0.0.1:7482`",
    epilog=EXIT_CODES,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"kvgossip {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 the node said no, 2 wrong usage or no node."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    prepare_streams()
    try:
        code = app(args=arguments, prog_name="kvgossip", standalone_mode=False)
        sys.stdout.flush()
    except KVGossipError as error:
        complain(str(error), error.hint)
        return exit_code_of(error)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        discard_output()
        return UNREAD
    except OSError as error:
        if error.errno not in NOTHING_TAKEN:
            raise
        complain(f"cannot write the output: {error.strerror}", "make room there, and do it again")
        discard_output()
        return UNUSABLE
    except Exception as error:
        # Which class says "wrong usage" differs between versions of typer, but all of them can show
        # the mistake.
        if not hasattr(error, "format_message"):
            raise
        if message := usage_message(error):
            complain(message, usage_hint(error))
        return UNUSABLE
    return code if isinstance(code, int) else 0
