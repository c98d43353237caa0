"""Which backend runs a job, and why: the hardware that is there, and what wins on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilejit.backends import BACKENDS, SettlingBackend, backend_of, get_backend, missing_for_cuda
from tilejit.compiler.jit.native_function import compiler_of
from tilejit.errors import BackendError
from tilejit.kernel.block_kernel import BlockKernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilejit.compiler.jit.native_function import Compiler, Functions
    from tilejit.engine.planning.plan import Plan
    from tilejit.kernel.kernel import Kernel

GPU_OPERATIONS = 150
"""Operations a pixel from which a GPU is worth the way over PCIe.

A core does about 2.5e11 simple float32 operations a second in vector code (slope: 1.2-1.8 Gpx/s a core at about 60
operations, measured), the PCIe link moves 13.7 Gpx/s of float32 in and out (calculated, no card seen yet). Sixteen such
cores match the link at 150-300 operations a pixel; below that the CPU computes faster than the pixels can travel.
"""


def choose_backend(requested: str, kernels: Sequence[Kernel]) -> tuple[str, str]:
    """Returns the name of the backend that runs ``kernels``, and the reason.

    Args:
        requested: A backend's name, or ``"auto"``.
        kernels: What is to run.

    Raises:
        KernelError: A kernel calls a C function, which the one asked for cannot.
        BackendError: The one asked for does not exist or cannot run here.
    """
    if requested != "auto":
        if requested not in BACKENDS:
            raise BackendError(f"no backend {requested!r}; there are {', '.join(BACKENDS)} and auto")
        if requested == "cuda":
            for function in (f for kernel in kernels if kernel.facts.calls_c for f in kernel.form.c_functions):
                function.refuse_on_gpu()
            if there := _on_host_alone(kernels):
                raise BackendError(f"{there}, and backend='cuda' was asked for")
        obstacle = get_backend(requested).why_not()
        if obstacle is not None:
            raise BackendError(f"backend {requested!r} cannot run here: {obstacle}")
        return requested, "asked for"
    obstacle = missing_for_cuda() or get_backend("cuda").why_not()
    if obstacle is not None:
        return "cpu", f"no GPU ({obstacle})"
    if there := _on_host_alone(kernels):
        return "cpu", there
    count = sum(kernel.facts.operations for kernel in kernels)
    if count < GPU_OPERATIONS:
        return "cpu", (
            f"about {count} operations a pixel; below {GPU_OPERATIONS} moving pixels to the GPU and back takes longer"
        )
    return "cuda", f"about {count} operations a pixel, at least {GPU_OPERATIONS}"


def _on_host_alone(kernels: Sequence[Kernel]) -> str:
    """Why a GPU cannot run kernels; nothing where it can."""
    calling = [kernel.name for kernel in kernels if kernel.facts.calls_c]
    if calling:
        return f"{', '.join(calling)} calls C functions, which a GPU cannot"
    whole = [kernel.name for kernel in kernels if isinstance(kernel, BlockKernel) and kernel.device_body is None]
    return f"{whole[0]} has no body for a GPU: give it one with @{whole[0]}.cuda" if whole else ""


def functions_of(plan: Plan, kernels: Sequence[Kernel]) -> Functions:
    """Returns the native functions that a run calls: of its kernels, the codecs of its files, and its reductions."""
    launches = [
        function
        for kernel, step in zip(kernels, plan.steps, strict=True)
        for backend in [backend_of(kernel, plan.backend)]
        for function in (
            backend.settling_functions(kernel, step.signature)
            if step.scans and isinstance(backend, SettlingBackend)
            else backend.functions(kernel, step.signature)
        )
    ]
    decoders = [f for read in plan.reads if read.decoding and (codec := read.decoding.codec) for f in codec.decoders]
    encoders = [f for write in plan.writes if (codec := write.codec) for f in codec.encoders]
    reducers = [
        f
        for reduce, reduction in zip(plan.reduces, plan.reductions, strict=True)
        for f in reduction.functions([plan.planes[number].dtype for number in reduce.planes])
    ]
    return [*launches, *decoders, *encoders, *reducers]


def compiler_of_plan(plan: Plan, kernels: Sequence[Kernel]) -> Compiler:
    """Returns where the native functions of a run will be compiled."""
    if plan.backend == "cuda" and plan.steps:
        return "here"
    return compiler_of(functions_of(plan, kernels))
