"""Whether a version is inside of an approved plan of changes: decided from statements alone.

Nothing is believed that is not shown.  A version names the retraining that made it; from there
everything is looked up: the plan and who approved it, how often it was used, the run and what it
was given, every step that led to the model's bytes down to the rows at the beginning, what the
version was registered with, the facts about it, and the challenge.  Whatever is missing, or cannot
be read, or does not agree, is *outside*: then people approve, as for any other version.

The same function answers before a promotion, with the ledger at hand, and offline, with the leaves
of a bundle.  `Judged.looked` says which digests it asked about, so that a bundle can hold them all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from assay.clock import parse_timestamp
from assay.errors import AssayError
from assay.evidence import plans
from assay.evidence.facts import Evidence
from assay.evidence.lineage import Lineage
from assay.evidence.plan_records import (
    CHALLENGE,
    LOOP,
    RETRAINING,
    RUNNER,
    Ledger,
    Look,
    approvals_of,
    check_parameters,
    find_plan,
    frequency,
    pipeline_subject,
    retrainings,
    run_subject,
)
from assay.evidence.plans import Plan
from assay.evidence.records import State, VersionState
from assay.evidence.state import kind_of
from assay.types import Digest

QUALITY = "assay.assess.quality/1"


@dataclass(frozen=True, slots=True)
class Judged:
    """What is shown of a version under a plan."""

    plan: Digest
    retraining: str
    approvals: list[dict[str, Any]]
    """Who approved the plan: people other than who proposed it, and than the version's author."""
    outside: list[str]
    """What is not shown to be within the plan, in words."""
    unbeaten: list[str]
    """Why it is not shown to have beaten the version that it would replace."""
    champion: str
    """The version that it was compared with."""
    cited: set[str] = field(default_factory=set[str])
    looked: set[Digest] = field(default_factory=set[Digest])

    @property
    def within(self) -> bool:
        return not self.outside

    @property
    def won(self) -> bool:
        return not self.unbeaten

    def against(self, serves: str, own: str) -> Judged:
        """The same, where the version `serves` is in production: beating another is not enough."""
        if serves in (self.champion, own):
            return self
        why = f"version {serves or 'none'} is in production, and it was not compared with that"
        return dataclasses.replace(self, unbeaten=[*self.unbeaten, why])

    def context(self) -> dict[str, Any]:
        """As policy is told."""
        return {"approvals": len(self.approvals), "within": self.within, "won": self.won}


class _Outside(Exception):
    """What is not shown."""


def judge(
    look: Look,
    state: State,
    version: VersionState,
    facts: Mapping[str, Any],
    *,
    now: str,
) -> Judged | None:
    """What is shown of `version` under the plan that its retraining names; None where it names
    none.  `facts` are those about the version, `now` is the time of the question."""
    if version.served is None:
        return None
    ledger = Ledger(look, state, version.project)
    named = [
        item
        for item in ledger.told(version.served, RETRAINING, LOOP)
        if item.statement.predicate.get("stage") == "candidate"
        and item.statement.predicate.get("plan")
        and _is(item.statement.predicate, version)
    ]
    if not named:
        return None
    # The first: what is named later does not change what earlier decisions stood on.
    pointer = named[0].statement.predicate
    digest = Digest(str(pointer["plan"]))
    found = find_plan(ledger, digest)
    if found is None:
        return Judged(
            digest,
            str(pointer.get("id")),
            [],
            [f"no plan {digest} was proposed in this project"],
            ["there is no plan that says how"],
            "",
            looked=ledger.looked,
        )
    plan, proposer = found
    return _Judge(
        ledger, version, digest, plan, proposer, str(pointer.get("id")), facts, now
    ).judge()


def _is(predicate: Mapping[str, Any], version: VersionState) -> bool:
    return (predicate.get("name"), predicate.get("version")) == (version.name, version.version)


class _Judge:
    """Holds one version to one plan."""

    def __init__(
        self,
        ledger: Ledger,
        version: VersionState,
        digest: Digest,
        plan: Plan,
        proposer: str,
        retraining: str,
        facts: Mapping[str, Any],
        now: str,
    ) -> None:
        self._ledger = ledger
        self._version = version
        self._digest = digest
        self._plan = plan
        self._proposer = proposer
        self._id = retraining
        self._facts = facts
        self._now = now
        self._cited: set[str] = set()
        self._lineage: Lineage | None = None

    def judge(self) -> Judged:
        but = (self._proposer, self._version.author)
        approved = approvals_of(self._ledger, self._digest, but=but)
        outside = self._complaints(
            self._check_plan,
            self._check_frequency,
            self._check_candidate,
            self._check_build,
            self._check_registered,
            self._check_quality,
            self._check_facts,
        )
        champion: list[str] = []
        unbeaten = self._complaints(lambda: self._check_challenge(champion))
        self._cited.update(str(approval["envelope"]) for approval in approved)
        self._cited.update(self._lineage.cited if self._lineage else ())
        return Judged(
            self._digest,
            self._id,
            approved,
            outside,
            unbeaten,
            champion[0] if champion else "",
            self._cited,
            self._ledger.looked,
        )

    def _complaints(self, *checks: Callable[[], Iterator[str] | None]) -> list[str]:
        found: list[str] = []
        for check in checks:
            try:
                found.extend(check() or ())
            except _Outside as error:
                found.append(str(error))
            except (AssayError, LookupError, TypeError, ValueError, AttributeError) as error:
                # Whatever cannot be read is not shown.
                found.append(f"a statement cannot be read: {type(error).__name__}: {error}"[:300])
        return found

    # -- the plan and its retrainings -------------------------------------------------------------

    def _check_plan(self) -> Iterator[str]:
        if self._plan.model != self._version.name:
            yield f"the plan is for the model {self._plan.model}"
        if parse_timestamp(self._released()) > parse_timestamp(self._plan.valid_until):
            yield f"the plan was valid until {self._plan.valid_until}"

    def _released(self) -> str:
        """When the version first went to production; now, where it has not."""
        served = cast("Digest", self._version.served)
        for item in self._ledger.about(served):
            told = item.statement.predicate
            to_production = kind_of(item.statement) == "alias" and told["alias"] == "production"
            if to_production and _is(told, self._version):
                return item.statement.header.issued
        return self._now

    def _check_frequency(self) -> Iterator[str]:
        own = self._begun()
        before = [
            item.statement.header.issued
            for item in retrainings(self._ledger, self._digest, "begun")
            if item.index < own.index
        ]
        why = frequency(self._plan, before, own.statement.header.issued)
        if why:
            yield why
        trigger = own.statement.predicate["trigger"]
        if trigger not in self._plan.triggers:
            yield f"it was begun by {trigger}, and the plan has {', '.join(self._plan.triggers)}"

    def _begun(self) -> Evidence:
        return self._stage("begun")

    def _stage(self, stage: str) -> Evidence:
        for item in retrainings(self._ledger, self._digest, stage):
            if item.statement.predicate.get("id") == self._id:
                self._cited.add(item.envelope_digest)
                return item
        raise _Outside(f"nothing on the ledger says that retraining {self._id[:60]} was {stage}")

    def _check_candidate(self) -> Iterator[str]:
        others = [
            item.statement.predicate
            for item in retrainings(self._ledger, self._digest, "candidate")
            if item.statement.predicate.get("id") == self._id
            and not _is(item.statement.predicate, self._version)
        ]
        if others:
            yield (
                f"the same retraining also gave version {others[0].get('version')}: one that was "
                "chosen among several was chosen by luck"
            )

    # -- how it was made --------------------------------------------------------------------------

    def _check_build(self) -> Iterator[str]:
        details = self._version.details
        run = str(details.get("run", ""))
        if details.get("provenance") != "observed" or not run:
            raise _Outside("no run of this workspace was observed to make it")
        lineage = self._looking()
        built = [
            item
            for item in lineage.made(self._version.artifact)
            if item.envelope_digest == details.get("build")
            and item.statement.predicate["runDetails"]["metadata"]["invocationId"] == run
        ]
        if not built:
            raise _Outside("nothing on the ledger shows that the run it names made these bytes")
        yield from self._check_run(run)
        seen, outside = lineage.walk(self._version.artifact, built[-1])
        yield from outside
        if details.get("trained_on") not in seen:
            yield f"{details.get('dataset')}, on which it is said to be trained, did not go into it"

    def _looking(self) -> Lineage:
        """What looks at where things come from; one for all, as it remembers how new they are."""
        if self._lineage is None:
            collected = self._stage("collected").statement.predicate
            self._lineage = Lineage(self._ledger, self._plan, collected)
        return self._lineage

    def _check_run(self, run: str) -> Iterator[str]:
        told = self._ledger.told(run_subject(run), "pipeline-run", RUNNER)
        if not told:
            raise _Outside(f"nothing on the ledger says what run {run[:60]} was given")
        self._cited.add(told[-1].envelope_digest)
        given = told[-1].statement.predicate
        begun, collected = (self._stage(s).statement.predicate for s in ("begun", "collected"))
        if given["run"] != run or given["pipeline"] != self._plan.pipeline.function:
            yield f"the run was of {given['pipeline']}, and not of {self._plan.pipeline.function}"
        if given["seed"] != self._plan.pipeline.seed:
            yield f"the seed was {given['seed']}, and the plan has {self._plan.pipeline.seed}"
        if given["executor"] != "local":
            yield f"its steps ran on {given['executor']}"
        if given["parameters"] != begun["parameters"]:
            yield "the run was given other parameters than were written down before it"
        yield from check_parameters(self._plan, given["parameters"], str(collected["dataset"]))
        yield from self._check_only_run(str(collected["dataset"]))

    def _check_only_run(self, dataset: str) -> Iterator[str]:
        """That nobody ran it again and again on the same rows, and took what looked best.  A run
        that goes on with one that was killed is the same."""
        pipeline = self._plan.pipeline
        filed = pipeline_subject(self._version.project, pipeline.function)
        roots = {
            item.statement.predicate["root"]
            for item in self._ledger.told(filed, "pipeline-run", RUNNER)
            if item.statement.predicate["parameters"].get(pipeline.data) == dataset
        }
        if len(roots) != 1:
            yield f"it was run {len(roots)} times on the same rows: which one counts was a choice"

    # -- what it is -------------------------------------------------------------------------------

    def _check_registered(self) -> Iterator[str]:
        for name, bound in self._plan.registered.items():
            value = self._version.details.get(name)
            if not plans.is_within(bound, value):
                yield (
                    f"it is registered with {name} {str(value)[:60]}, and the plan has "
                    f"{plans.in_words(bound)[:120]}"
                )
        collected = self._stage("collected").statement
        data = self._plan.data
        begun = self._begun().statement.predicate
        told = collected.predicate
        if (told["from"], told["to"]) != (begun["from"], begun["to"]):
            yield "other rows were collected than were written down before"
        length = parse_timestamp(told["to"]) - parse_timestamp(told["from"])
        if not plans.duration(data.least) <= length <= plans.duration(data.most):
            yield f"rows of {length} were collected, and the plan has {data.least} to {data.most}"
        if parse_timestamp(told["to"]) > parse_timestamp(collected.header.issued):
            yield "rows of the future were collected"
        if told["rows"] < data.least_rows:
            yield f"{told['rows']} rows were collected, and the plan wants {data.least_rows}"

    def _check_quality(self) -> Iterator[str]:
        """That it was judged on rows that came as those did that it was trained on."""
        served = cast("Digest", self._version.served)
        complaints = ["it was not assessed"]
        for item in self._ledger.told(served, "quality", QUALITY):
            # What was found of the same bytes under another name shows nothing of this one's facts.
            if not any(subject.name in self._version.names for subject in item.statement.subject):
                continue
            content = str(item.statement.predicate["datasets"]["data"]["content"])
            _, outside = self._looking().walk(content)
            held_out = self._version.details.get("tested_on") or content
            if not outside and content == held_out != self._version.details.get("trained_on"):
                self._cited.add(item.envelope_digest)
                return
            complaints = outside or ["it was assessed on other rows than were held out for it"]
        yield complaints[0]

    def _check_facts(self) -> Iterator[str]:
        for name, bound in self._plan.holds.items():
            value = plans.fact(self._facts, name)
            if value is None:
                yield f"{name} is not known"
            elif not plans.is_within(bound, value):
                yield f"{name} is {value}, and the plan has {plans.in_words(bound)}"

    # -- whether it is better ---------------------------------------------------------------------

    def _check_challenge(self, champion: list[str]) -> Iterator[str]:
        served = cast("Digest", self._version.served)
        held = [
            item
            for item in self._ledger.told(served, CHALLENGE, LOOP)
            if item.statement.predicate.get("name") == self._version.name
            and item.statement.predicate["challenger"]["version"] == self._version.version
        ]
        # Only a retraining's own challenge goes by all rules of its plan, and not by the asker's.
        planned = [i for i in held if i.statement.predicate.get("retraining") == self._id]
        if not planned:
            raise _Outside("it was not compared, by its plan's rules, with what is in production")
        # A later one has the rows of those before it, and more.
        last = planned[-1]
        self._cited.add(last.envelope_digest)
        told = last.statement.predicate
        champion.append(str(told["champion"]["version"]))
        begun = self._begun().statement.predicate
        if told["champion"]["version"] != begun["champion"]:
            yield f"it was compared with version {told['champion']['version']}"
        if told["challenger"]["digest"] != served:
            yield "other bytes were compared"
        if told["won"] is not True:
            yield "it is not shown to be better"
        yield from self._check_rules(told)
        yield from self._check_rows(told)
        for item in held:
            other = item.statement.predicate
            same = other["champion"]["version"] == told["champion"]["version"]
            if same and (other["from"], other["loss"]) != (told["from"], told["loss"]):
                yield "it was compared on rows, or by a loss, that were chosen anew"

    def _check_rules(self, told: Mapping[str, Any]) -> Iterator[str]:
        rules = self._plan.challenge
        if told["loss"] != rules.loss:
            yield f"it was compared by {told['loss']}, and the plan has {rules.loss}"
        if not 0 < told["alpha"] <= rules.alpha or told["log_e"] < -math.log(rules.alpha):
            yield f"it may be better by luck: the plan wants alpha {rules.alpha}"
        if told["improvement"] < rules.improvement:
            yield f"the plan wants an improvement of more than {rules.improvement}"
        if told["rows"] < rules.least_rows:
            yield f"{told['rows']} labelled rows were compared; the plan wants {rules.least_rows}"
        if plans.duration(told["horizon"]) < plans.duration(rules.horizon):
            yield f"labels were waited for {told['horizon']}, and the plan has {rules.horizon}"
        known = {part["column"] for part in told["slices"]}
        for column in rules.slices:
            if column not in known:
                yield f"it was not compared within the values of {column}"
        for part in told["slices"]:
            if part["column"] not in rules.slices:
                continue
            if part["rows"] < rules.slice_rows or not part["harm"]["upper"] <= rules.most_harm:
                yield (
                    f"it may do harm where {part['column']} is {str(part['value'])[:40]}: its loss "
                    f"may be higher by {part['harm']['upper']:.4f}, on {part['rows']} rows"
                )

    def _check_rows(self, told: Mapping[str, Any]) -> Iterator[str]:
        gathered = self._looking().until
        since = parse_timestamp(told["from"])
        champion, own = (parse_timestamp(told[who]["until"]) for who in ("champion", "challenger"))
        if not gathered or parse_timestamp(gathered) > own or since < max(champion, own):
            yield "it was compared on rows that may be among those it was trained on"


def follows(shown: Any, judged: Judged | None) -> bool:
    """Whether what a decision showed of a plan follows from the statements.

    It may have shown that the version had *not* won where they say that it had: by then another
    version was in production, of which a bundle about this one does not tell.
    """
    known = judged.context() if judged is not None else None
    if shown == known:
        return True
    if not isinstance(shown, dict) or known is None:
        return False
    told = cast("dict[str, Any]", shown)
    return told.get("won") is False and {**told, "won": known["won"]} == known
