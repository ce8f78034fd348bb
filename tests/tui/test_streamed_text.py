"""What a growing text costs the screen."""

from textual.app import App, ComposeResult

from tui.widgets.streamed_text import StreamedText


class Sheet(App[None]):
    def compose(self) -> ComposeResult:
        yield StreamedText()


async def test_rows_that_come_below_the_last_move_the_scrollbar_alone() -> None:
    app = Sheet()
    async with app.run_test(size=(24, 10)) as pilot:
        sheet = app.query_one(StreamedText)
        await pilot.pause()
        sheet.append("line\n" * 30)
        await pilot.pause()
        assert sheet.show_vertical_scrollbar
        layouts = list[object]()
        app.screen.screen_layout_refresh_signal.subscribe(sheet, layouts.append)
        for number in range(20):
            sheet.append(f"more {number}\n")
            await pilot.pause()
        assert len(layouts) < 3, "not one for each"
        assert sheet.rows == 51
        assert sheet.scroll_offset.y == sheet.max_scroll_y == 41
        assert sheet.vertical_scrollbar.window_virtual_size == 51
        assert sheet.vertical_scrollbar.position == 41
        assert sheet.render_line(8).text.strip() == "more 19"
        sheet.clear()
        sheet.append("short")
        await pilot.pause()
        assert not sheet.show_vertical_scrollbar
        assert sheet.render_line(0).text.strip() == "short"
