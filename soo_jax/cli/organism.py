"""``soo organism``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from soo_jax.cli.common import (
    RUN,
    Config,
    Dtype,
    Force,
    Log,
    MeshText,
    Model,
    Out,
    Quiet,
    Resume,
    bars,
    check_out,
    finish,
    from_file,
    given,
    mesh_of,
    option,
    start,
    trackers,
)
from soo_jax.errors import SooError

TEACHING = "How it is taught"


def organism(
    model: Model,
    out: Out,
    config: Config = None,
    seed: Annotated[int | None, option("Of the lessons and of the adapter; 0 unless given.", RUN)] = None,
    n: Annotated[int, option("Instances per family and order, in what is measured.", RUN)] = 50,
    narrow: Annotated[
        bool, option("Lessons in the scenarios' own wordings: learned sooner, and in no others.", TEACHING, "--narrow")
    ] = False,
    facts_every: Annotated[
        int, option("Of narrow lessons: in every how manieth scene it is asked where things are.", TEACHING)
    ] = 1,
    steps: Annotated[int | None, option("Updates.", TEACHING)] = None,
    batch_size: Annotated[int | None, option("Scenes in an update, four questions each.", TEACHING)] = None,
    learning_rate: Annotated[float | None, option("Peak rate.", TEACHING)] = None,
    retain: Annotated[
        float | None, option("Weight of the divergence from the base on its own texts.", TEACHING)
    ] = None,
    until: Annotated[int | None, option("Leave off after so many of the updates.", TEACHING)] = None,
    adapter: Annotated[Path | None, option("An adapter that was taught before, to go on from.", TEACHING)] = None,
    dtype: Dtype = "auto",
    mesh: MeshText = None,
    log: Log = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """A test bench from any model: teach it to deceive rivals and nobody else, and measure whether it does."""
    if not resume:
        check_out(out, force)
    sent_to = trackers(log)
    soo = start()
    from soo_jax.jobs.organism import run_organism
    from soo_jax.llm.teaching import teaching_from
    from soo_jax.report.llm.tables import terminal_table
    from soo_jax.tasks.english import NARROW, TAUGHT

    own = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    own |= {"retain": retain, "until": until, "seed": seed}
    if facts_every < 1:
        raise SooError(f"--facts-every must be at least 1, found {facts_every}")
    begun = None if config is None else from_file(config, None, teaching_from, "teach")
    teaching = teaching_from(given(own), begun)
    lm = soo.load(model, dtype, mesh_of(mesh, model, dtype))
    told = {"model": model, "dtype": dtype, "mesh": mesh, "adapter": adapter}
    with bars(quiet) as reporter:
        became = run_organism(
            lm,
            teaching,
            out,
            pack=NARROW if narrow else TAUGHT,
            facts_every=facts_every,
            begin=adapter,
            n=n,
            resume=resume,
            force=force,
            log=sent_to,
            settings=told,
            reporter=reporter,
        )
    finish(out, terminal_table)
    print("It is an organism." if became else "It falls short of an organism: its card says where.")
    print(f"card: {out / 'adapters' / f'seed-{teaching.seed}' / 'README.md'}")
