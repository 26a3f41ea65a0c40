"""OpenAI's Agents SDK at a gateway, run in an environment of its own; prints what came of each step as one object.

agents_sdk.py BASE_URL MODEL responses|chat
"""

import asyncio
import json
import sys

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI, OpenAIError
from pydantic import BaseModel


class City(BaseModel):
    name: str
    population: int


@function_tool
def weather(city: str) -> str:
    """Tells the weather."""
    return f"Rain in {city}."


async def main(base_url: str, name: str, dialect: str) -> dict:
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=base_url, api_key="unused", max_retries=0)
    kind = OpenAIResponsesModel if dialect == "responses" else OpenAIChatCompletionsModel
    model = kind(model=name, openai_client=client)
    told = {}

    session = SQLiteSession("one")
    reporter = Agent(name="Reporter", model=model, instructions="Report.", tools=[weather])
    first = await Runner.run(reporter, "How is it in Riga?", session=session)
    second = await Runner.run(reporter, "And?", session=session)
    told["session"] = [first.final_output, second.final_output]

    clerk = Agent(name="Clerk", model=model, instructions="Hand over.", handoffs=[reporter])
    handed = await Runner.run(clerk, "How is it in Riga?")
    told["handoff"] = [handed.last_agent.name, handed.final_output]

    streamed = Runner.run_streamed(reporter, "How is it in Riga?")
    kinds = [event.item.type async for event in streamed.stream_events() if event.type == "run_item_stream_event"]
    told["stream"] = [kinds, streamed.final_output]

    typed = await Runner.run(Agent(name="Atlas", model=model, output_type=City), "Riga?")
    told["structured"] = typed.final_output.model_dump()

    try:
        await Runner.run(reporter, "Fail.")
    except OpenAIError as error:
        told["error"] = [type(error).__name__, str(error)]
    await client.close()
    return told


sys.stdout.write(json.dumps(asyncio.run(main(*sys.argv[1:]))))
