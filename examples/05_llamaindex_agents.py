"""LlamaIndex agents over a router: one with a tool, then two of which one hands over to the other.

The second of the two is limited to some candidates by a constraint of its own. Needs any
OpenAI-compatible server at http://127.0.0.1:11434/v1 that serves `qwen3:4b` (Ollama, for instance:
`ollama pull qwen3:4b`), a key in OPENAI_API_KEY for the large model, and

    pip install 'router-llm-plugin[llamaindex]' llama-index-llms-openai-like
    python examples/05_llamaindex_agents.py
"""

import asyncio
from datetime import date

from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent
from llama_index.llms.openai_like import OpenAILike

from llamaindex_router import Candidate, Policy, RouterLLM
from shared_core import Estimate, Prompt


def weekday(day: str) -> str:
    """Tell which day of the week a date (YYYY-MM-DD) is."""
    return date.fromisoformat(day).strftime("%A")


def writes_well(prompt: Prompt, candidate: Candidate, estimate: Estimate) -> bool:
    """A constraint of your own, a hard limit: only candidates with this tag."""
    return "writes well" in candidate.tags


async def show(agent: FunctionAgent | AgentWorkflow, question: str) -> None:
    """Run an agent and print each of its steps with the candidate that took it."""
    print(f"\n{question}")
    handler = agent.run(question)
    async for event in handler.stream_events():
        if isinstance(event, AgentOutput):
            candidate = event.response.additional_kwargs["router"]["candidate"]
            calls = ", ".join(f"{call.tool_name} {call.tool_kwargs}" for call in event.tool_calls)
            said = f"calls {calls}" if calls else f"says: {event.response.content}"
            print(f"  {event.current_agent_name} ({candidate}) {said}")
    await handler


async def main() -> None:
    """Run both."""
    small = OpenAILike(
        model="qwen3:4b",
        api_base="http://127.0.0.1:11434/v1",
        api_key="none",
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=32_000,
    )
    large = OpenAILike(
        model="gpt-5-mini",
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=400_000,
    )
    router = RouterLLM(
        candidates=[  # weakest first
            Candidate("small", small, local=True, price=(0, 0)),
            Candidate("large", large, price=(0.25, 2.00), tags=("writes well",)),
        ]
    )
    await show(FunctionAgent(tools=[weekday], llm=router), "Which weekday is 2031-02-03?")

    clerk = FunctionAgent(
        name="clerk",
        description="Looks dates up.",
        system_prompt="Look up the weekday of each date, then hand over to the writer.",
        tools=[weekday],
        llm=router,
        can_handoff_to=["writer"],
    )
    writer = FunctionAgent(
        name="writer",
        description="Writes to people.",
        system_prompt="Write what was asked for, from what the clerk has looked up.",
        llm=router.with_policy(Policy(subject_to=[writes_well])),
        can_handoff_to=[],
    )
    team = AgentWorkflow(agents=[clerk, writer], root_agent="clerk")
    await show(team, "Invite a friend to dinner on 2031-02-03.")


if __name__ == "__main__":
    asyncio.run(main())
