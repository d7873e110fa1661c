# frozen_string_literal: true

require 'active_support'
require 'active_support/tagged_logging'

RSpec.describe TaskerCore::LogFormat do
  include Attempts

  trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

  def lines = log.string.lines.map(&:chomp)
  def parsed = lines.map { |line| JSON.parse(line) }
  def logger = configuration.logger

  describe 'text' do
    before { configuration.log_format = :text }

    it 'says which step writes, in each of its fibers' do
      here = self
      job = run_step(task: { 'traceparent' => trace }) do
        here.logger.info('from the handler')
        Enumerator.new { |out| out << here.logger.info('from a fiber') }.next
      end
      tags = "task=#{job.task.task_id} template=ns/flow step=a attempt=1 traceparent=#{trace}"
      expect(lines.map { |line| line[/ -- : (.*)/, 1] }).to eq(["#{tags} from the handler", "#{tags} from a fiber"])
    end

    it 'has no tags when no step runs' do
      logger.warn('alone')
      expect(lines).to match([/\AW, \[.*\]  WARN -- : alone\z/])
    end

    it 'makes nothing of lines that are not written' do
      logger.level = :warn
      here = self
      expect(described_class).not_to receive(:tags)
      run_step { here.logger.info('unsaid') }
    end
  end

  describe 'json' do
    before { configuration.log_format = 'json' }

    it 'is an object a line' do
      logger.progname = 'tasker'
      logger.info("two\nlines")
      expect(parsed).to match([{ 'timestamp' => /\A\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}Z\z/, 'level' => 'INFO',
                                 'target' => 'tasker', 'pid' => Process.pid, 'message' => "two\nlines" }])
    end

    it 'has the step that runs' do
      here = self
      job = run_step(attempt: 2, task: { 'traceparent' => trace }) { here.logger.info('working') }
      expect(parsed).to match([include('task_id' => job.task.task_id, 'template' => 'ns/flow', 'step' => 'a',
                                       'attempt' => 2, 'traceparent' => trace, 'message' => 'working')])
    end

    it 'has the keys of a Hash and the parts of an exception' do
      logger.info(event: 'charged', amount: 1.5, rows: [1, nil, true], at: :now)
      logger.error(TaskerCore::PermanentError.new('declined'))
      expect(parsed.first).to include('event' => 'charged', 'amount' => 1.5, 'rows' => [1, nil, true], 'at' => 'now')
      expect(parsed.last).to include('message' => 'declined', 'error' => {
                                       'class' => 'TaskerCore::Errors::PermanentError', 'message' => 'declined'
                                     })
    end

    it 'has a line for what JSON has not' do
      logger.info("\xff\xfe")
      logger.info(number: Float::NAN, object: Object, bytes: "\xff".b)
      logger.info(nil)
      expect(parsed.map { |line| line['message'] }).to eq(["\uFFFD\uFFFD", nil, 'nil'])
      expect(parsed[1]).to include('number' => 'NaN', 'object' => 'Object', 'bytes' => "\uFFFD")
    end
  end

  it 'holds for a logger that is set later, and leaves others alone' do
    plain = Logger.new(log, formatter: proc { |*, message| "own: #{message}\n" })
    configuration.logger = plain
    logger.info('first')
    configuration.log_format = :json
    configuration.logger = Logger.new(log)
    logger.info('second')
    expect(lines.first).to eq('own: first')
    expect(JSON.parse(lines.last)).to include('message' => 'second')
  end

  it 'refuses what there is not' do
    expect { configuration.log_format = :xml }.to raise_error(TaskerCore::ConfigurationError, /:xml .*text and json/)
    expect(configuration.log_format).to be_nil
  end

  describe 'of a logger that has tags' do
    let(:tagged) { ActiveSupport::TaggedLogging.new(Logger.new(log)) }

    before { configuration.logger = tagged }

    it 'is left as it is, with a tag for the step' do
      job = run_step(->(*) { tagged.tagged('own') { tagged.info('working') } })
      tagged.info('alone')
      expect(lines).to eq(["[task=#{job.task.task_id} template=ns/flow step=a attempt=1] [own] working", 'alone'])
    end

    it 'takes the tag away when the handler raises' do
      run_step { raise 'broken' }
      log.truncate(0)
      tagged.info('alone')
      expect(lines.last).to end_with('alone').and(satisfy { |line| !line.include?('task=') })
    end

    it 'keeps its tags in the lines that are asked for' do
      configuration.log_format = :json
      run_step(->(*) { tagged.tagged('own') { tagged.info(n: 1) } })
      configuration.log_format = :text
      tagged.tagged('own') { tagged.info('text') }
      expect(JSON.parse(lines.first)).to include('n' => 1, 'tags' => ['own'], 'step' => 'a')
      expect(lines.last).to end_with('-- : [own] text')
    end
  end
end
